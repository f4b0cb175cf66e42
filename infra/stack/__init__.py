"""All services of production as local processes: `make stack`. Never imported by flows, tasks, model or configs."""
