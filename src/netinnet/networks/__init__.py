"""Networks as data: layers, blocks, networks, the zoo, exact rewrites."""
