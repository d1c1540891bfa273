// Weights [O, I, K, K] as cuDNN reads them beside maps [B, H, W, C]: [O, K, K, I], in the numbers of the maps; and back.

typedef struct {
    const Real *weight[TENSORS];
    Number *packed[TENSORS];
    unsigned count[TENSORS], inputs[TENSORS], taps[TENSORS];
    unsigned blocks; // of a weight
} PackWeights;

KERNEL_BEFORE_READERS(pack_weights, PackWeights) {
    const unsigned tensor = blockIdx.x / a.blocks, inputs = a.inputs[tensor], taps = a.taps[tensor];
    for (unsigned index = blockIdx.x % a.blocks * BLOCK + threadIdx.x; index < a.count[tensor]; index += a.blocks * BLOCK) {
        a.packed[tensor][packed_index(index, inputs, taps)] = rounded(a.weight[tensor][index]);
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
