"""Where `train --log` writes its curves and pictures, one module per program."""
