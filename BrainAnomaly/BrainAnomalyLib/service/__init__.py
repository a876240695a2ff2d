"""Detection as other programs ask for it: jobs, the worker that keeps the engine warm, and its client."""
