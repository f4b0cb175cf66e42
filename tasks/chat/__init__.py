"""The client of teacher and judge: records, endpoints, pace, retries, batches."""
