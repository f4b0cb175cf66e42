"""Stage `shard`: images and conversations become plain WebDataset shards of training samples."""
