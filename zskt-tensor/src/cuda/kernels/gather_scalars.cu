// Scalars, wherever they are, as one tensor of doubles: a thread takes one.
typedef struct {
    const float *narrow[TENSORS];
    const double *wide[TENSORS]; // where there is none that is narrow
    double *gathered;
    unsigned count;
} GatherScalars;

KERNEL(gather_scalars, GatherScalars) {
    const unsigned index = threadIdx.x;
    if (index < a.count) a.gathered[index] = a.narrow[index] ? a.narrow[index][0] : a.wide[index][0];
}
