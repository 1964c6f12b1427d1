"""Stage I, MOSO-VQVAE: a clip as motion, scene and object tokens over one shared codebook, and back (Sec. 3.1)."""
