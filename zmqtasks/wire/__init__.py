"""Bytes: messages as frames, and values as bodies. The only importer of serializers and compressors."""
