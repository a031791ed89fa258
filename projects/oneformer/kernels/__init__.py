"""Kernels: each file computes the same as a plain reference in torch, faster or in less memory."""
