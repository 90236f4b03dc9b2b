"""What the scripts share: photographs, fits and trainings, results that are kept, pictures, the command line."""
