"""The world that flux-mini is trained on: things in places, in a light and a weather."""
