"""Texts: files, folders and datasets become categories, texts and token windows."""
