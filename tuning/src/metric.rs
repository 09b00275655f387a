//! Histograms (the hdrhistogram door).
