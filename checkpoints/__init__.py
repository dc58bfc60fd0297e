"""The weights that ship: `index.toml` lists them, each with its sha256, and beside each lies a card.

python -m checkpoints add photos/resnet-lift training-runs/resnet8-lift/final.safetensors
"""
