"""What each stage does, one package a stage; shared modules lie beside them, below them in the import order."""
