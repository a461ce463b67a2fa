"""Regenerates the golden files: ``python -m tests.parity.make_golden``.

Development only; nothing else in the project needs PyTorch.  In an environment of its own (Python 3.11):

    pip install torch==2.13.0 numpy scipy einops einops-exts safetensors tqdm transformers==5.23.0 einx
    pip install --no-deps stable-audio-tools==0.0.19 k-diffusion==0.1.1 alias-free-torch==0.0.6 torchaudio==2.11.0 \
        descript-audio-codec==1.0.0 torchsde==0.2.6 trampoline==0.1.2 torchdiffeq==0.2.5 \
        vector-quantize-pytorch==1.14.41 local-attention==1.8.6
    rm -f lib/python3.11/site-packages/torchaudio/lib/*.so    # built for CUDA; not needed for what is used here
"""
