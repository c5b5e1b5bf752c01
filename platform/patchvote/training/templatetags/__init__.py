"""Tags and filters of training's templates."""
