"""A prediction service as one writes it in a few lines: FastAPI and PyTorch, a picture at a time.

    python benchmarks/plain_service.py PORT

What `benchmarks/serve_load.py` compares `nin serve` with: the same model, the same preprocessing,
one thread. It answers POST /predict with a picture's file, or 28×28 raw values.
"""

import io
import sys

import numpy as np
import torch
import uvicorn
from fastapi import FastAPI, Request
from PIL import Image

import netinnet
from netinnet.preprocessing import prepare

torch.set_num_threads(1)
model = netinnet.load()
network = netinnet.load(framework="pytorch").eval()
app = FastAPI()


@app.post("/predict")
async def predict(request: Request):
    body = await request.body()
    if request.headers["content-type"] == "application/octet-stream":
        picture = np.frombuffer(body, np.uint8).reshape(28, 28, 1)
    else:
        picture = np.asarray(Image.open(io.BytesIO(body)).convert("L"))[..., None]
    shape, preprocessing = model.network.input, model.network.preprocessing
    images = prepare(picture[None], shape, preprocessing).transpose(0, 3, 1, 2)
    with torch.inference_mode():
        probabilities = network(torch.from_numpy(images.copy())).softmax(1)[0]
    values, places = probabilities.topk(5)
    names = [model.network.classes[place] for place in places.tolist()]
    pairs = zip(names, values.tolist(), strict=True)
    return {"predictions": [{"name": name, "probability": value} for name, value in pairs]}


uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", access_log=False)
