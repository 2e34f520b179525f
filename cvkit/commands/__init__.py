"""One module per verb: resolve names, call the engine, print. No logic of its own."""
