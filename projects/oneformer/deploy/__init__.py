"""What a model becomes outside of torch; ``oneformer_runtime`` runs it there."""
