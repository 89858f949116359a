"""The live part of a catalog: a model and an SAE flow in, what a page needs to run them on a typed text flows out."""
