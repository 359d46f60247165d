"""Data modules: few labelled pairs in, transition clips out."""
