"""What the scripts share: fits and trainings that are kept, curves, pictures, tables with their provenance."""
