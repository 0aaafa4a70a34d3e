// The page's words in its languages.
"use strict";

const WORDS = {
  en: {
    language: "Language",
    subtitle: "{classes} classes · {parameters} parameters · computed in this page: no picture leaves it",
    remote: "{classes} classes · {parameters} parameters · computed by the server of this page",
    picture: "Picture",
    answer: "Answer",
    hint: "Drop a picture here, paste one, or choose one.",
    choose: "Choose a picture",
    draw: "Draw",
    camera: "Camera",
    clear: "Clear",
    ink: "Colour",
    examples: "Examples",
    example: "Example {number}",
    waiting: "Give it a picture.",
    thinking: "One moment …",
    none: "None of these",
    unlike: "This picture is not like those the model knows (score {score}, below {threshold}). What it would be:",
    all: "Show all {count} classes",
    fewer: "Show fewer",
    map: "Where it looked",
    strength: "Strength of the map",
    explained: "Yellow places speak for {name}, blue ones against it. Their mean is exactly the class's logit, {logit}. Choose another class to see its map.",
    time: "{milliseconds} ms ({kernel}), and {preparing} ms to bring the picture to {size}.",
    asked: "{milliseconds} ms, asking and answering.",
    network: "The network",
    layer: "Layer",
    what: "What",
    output: "Output (channels × height × width)",
    parameters: "Parameters",
    card: "About this model",
    private: "One file, no request to anywhere: pictures stay on this device.",
    server: "Pictures go to the server of this page and nowhere else.",
    unreadable: "“{name}” can't be read as a picture. PNG, JPEG, WebP, GIF and BMP can.",
    large: "“{name}” is too large for this browser ({width}×{height} pixels). Make it smaller.",
    noFile: "That is no picture. Drop, paste or choose a picture's file.",
    several: "Only the first of {count} files is used.",
    noCamera: "The camera can't be used: {reason}.",
    broken: "The model can't be run here: {reason}.",
    changed: "The model has changed: load the page again.",
    canvas: "The picture, with the map of the chosen class over it",
  },
  pt: {
    language: "Idioma",
    subtitle: "{classes} classes · {parameters} parâmetros · calculado nesta página: nenhuma imagem sai dela",
    remote: "{classes} classes · {parameters} parâmetros · calculado pelo servidor desta página",
    picture: "Imagem",
    answer: "Resposta",
    hint: "Solte uma imagem aqui, cole uma ou escolha uma.",
    choose: "Escolher uma imagem",
    draw: "Desenhar",
    camera: "Câmera",
    clear: "Limpar",
    ink: "Cor",
    examples: "Exemplos",
    example: "Exemplo {number}",
    waiting: "Dê uma imagem ao modelo.",
    thinking: "Um momento …",
    none: "Nenhuma destas",
    unlike: "Esta imagem não se parece com as que o modelo conhece (pontuação {score}, abaixo de {threshold}). O que ela seria:",
    all: "Mostrar todas as {count} classes",
    fewer: "Mostrar menos",
    map: "Para onde ele olhou",
    strength: "Intensidade do mapa",
    explained: "Lugares amarelos falam a favor de {name}, os azuis contra. A média deles é exatamente o logit da classe, {logit}. Escolha outra classe para ver o mapa dela.",
    time: "{milliseconds} ms ({kernel}), e {preparing} ms para trazer a imagem a {size}.",
    asked: "{milliseconds} ms para perguntar e responder.",
    network: "A rede",
    layer: "Camada",
    what: "O quê",
    output: "Saída (canais × altura × largura)",
    parameters: "Parâmetros",
    card: "Sobre este modelo",
    private: "Um só arquivo, nenhum pedido a lugar algum: as imagens ficam neste aparelho.",
    server: "As imagens vão ao servidor desta página e a nenhum outro lugar.",
    unreadable: "“{name}” não pode ser lido como imagem. PNG, JPEG, WebP, GIF e BMP podem.",
    large: "“{name}” é grande demais para este navegador ({width}×{height} pixels). Diminua a imagem.",
    noFile: "Isso não é uma imagem. Solte, cole ou escolha o arquivo de uma imagem.",
    several: "Só o primeiro de {count} arquivos é usado.",
    noCamera: "A câmera não pode ser usada: {reason}.",
    broken: "O modelo não pode ser executado aqui: {reason}.",
    changed: "O modelo mudou: recarregue a página.",
    canvas: "A imagem, com o mapa da classe escolhida sobre ela",
  },
};

let language = navigator.languages.some((name) => /^pt\b/i.test(name)) &&
  !navigator.languages.slice(0, navigator.languages.findIndex((name) => /^pt\b/i.test(name))).some((name) => /^en\b/i.test(name))
  ? "pt" : "en";

// A text with its gaps filled.
function say(key, values = {}) {
  return WORDS[language][key].replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

// As Intl.NumberFormat writes it, whose making takes as long as a first answer.
function number(value, digits = 0) {
  const [whole, fraction = ""] = value.toFixed(digits).split(".");
  const [comma, point] = language === "pt" ? [".", ","] : [",", "."];
  const kept = fraction.replace(/0+$/, "");
  return whole.replace(/\B(?=(\d{3})+$)/g, comma) + (kept && point + kept);
}

const percent = (value) => `${number(100 * value, 1)}%`;
