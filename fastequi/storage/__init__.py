"""What runs and trainings share: durable files, checkpoints, locks."""
