"""How fast netinnet is here, beside the code that people would write without it: `nin bench`."""
