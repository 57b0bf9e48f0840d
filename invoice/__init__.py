"""Documents: what a customer is asked to pay, assembled from charges, explained and drawn.

Pure: dates and numbers come in, documents and text go out.
"""
