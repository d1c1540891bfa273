// Weights [O, I, K, K] as cuDNN reads them beside maps [B, H, W, C]: [O, K, K, I], in the numbers of the maps; and back.

typedef struct {
    const Real *weight;
    Number *packed;
    unsigned outputs, inputs, taps;
} PackWeight;

KERNEL(pack_weight, PackWeight) {
    for (unsigned index = blockIdx.x * BLOCK + threadIdx.x; index < a.outputs * a.inputs * a.taps; index += gridDim.x * BLOCK) {
        const unsigned input = index % a.inputs, tap = index / a.inputs % a.taps, output = index / a.inputs / a.taps;
        a.packed[index] = rounded(a.weight[(output * a.inputs + input) * a.taps + tap]);
    }
}

typedef struct {
    const Number *packed;
    Real *weight;
    unsigned outputs, inputs, taps;
} UnpackWeight;

KERNEL(unpack_weight, UnpackWeight) {
    for (unsigned index = blockIdx.x * BLOCK + threadIdx.x; index < a.outputs * a.inputs * a.taps; index += gridDim.x * BLOCK) {
        const unsigned input = index % a.inputs, tap = index / a.inputs % a.taps, output = index / a.inputs / a.taps;
        a.weight[(output * a.inputs + input) * a.taps + tap] = load(a.packed[index]);
    }
}
