"""Ingest: images with captions and boxes come in, an ImageSet goes out. `run.build_image_set` is the stage."""
