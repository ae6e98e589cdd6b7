"""Reading a bundle and running its policy with nothing but torch, numpy and safetensors.

A logged model carries a copy of this folder as its code, under another name: so its modules import nothing of hlynr,
and each other relatively.
"""
