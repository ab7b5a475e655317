"""The `strata` command: reads settings, asks the engine or the workers, and shows what came of it."""
