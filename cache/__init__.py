"""The ground floor: embeddings kept on disk, found by what determines them and by the bytes of the image."""
