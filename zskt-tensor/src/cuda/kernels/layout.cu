// Weights [O, I, K, K] as cuDNN reads them beside maps [B, H, W, C]: [O, K, K, I], in the numbers of the maps; and back.

typedef struct {
    const Real *weight[TENSORS];
    Number *packed[TENSORS];
    unsigned inputs[TENSORS], taps[TENSORS];
    Division division;
} PackWeights;

KERNEL_BEFORE_READERS(pack_weights, PackWeights) {
    const Part part = part_of(&a.division);
    const unsigned inputs = a.inputs[part.tensor], taps = a.taps[part.tensor];
    const Real *weight = a.weight[part.tensor];
    Number *packed = a.packed[part.tensor];
    EACH_OF_PART(first, part) {
        Real some[IN_FLIGHT];
        for (unsigned k = 0; k < IN_FLIGHT; k++) some[k] = weight[in_flight(first, k, BLOCK, part.end)];
        for (unsigned k = 0; k < IN_FLIGHT; k++) {
            const unsigned index = first + k * BLOCK;
            if (index < part.end) packed[packed_index(index, inputs, taps)] = rounded(some[k]);
        }
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
