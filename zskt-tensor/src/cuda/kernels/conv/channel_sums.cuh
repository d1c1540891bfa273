// Two sums per channel over all pixels, without a launch of their own: blocks add theirs up (exact_sums.cuh), and whoever reads the
// result first finishes.

// Of eight channels.
struct Sums { float first[EIGHT], second[EIGHT]; };

// Bytes of shared memory for the sums of each warp; GROUPS eights side by side are the channels of a block.
template <int GROUPS> constexpr int BYTES_OF_SUMS = WARPS * 2 * GROUPS * EIGHT * 4;

// Adds up the sums of a block's threads that have the same channels, and adds these to `limbs` [LIMBS][2][ALL], from `channel` on. Of the
// channels, every PARTS-th warp has the same part, and lanes as many eights as that has. AT: shared memory that nothing else is in.
template <int GROUPS, int PARTS, int ALL, int AT> DEVICE void leave_sums(const Sums &sums, long long *limbs, int channel) {
    constexpr int SEEN = GROUPS * EIGHT, OF_WARP = GROUPS / PARTS, SEEN_BY_WARP = OF_WARP * EIGHT;
    constexpr int STEPS = OF_WARP <= 2 ? 4 : OF_WARP == 4 ? 3 : 2;
    static_assert(OF_WARP == 1 || OF_WARP == 2 || OF_WARP == 4 || OF_WARP == 8, "lanes with the same channels are a power of two apart");
    const int thread = thread_index(), lane = thread % 32, warp = thread / 32;
    // At each step a lane gives half its numbers away and takes the other lane's of the half that it keeps.
    float v[2 * EIGHT];
    UNROLL(8)
    for (int k = 0; k < EIGHT; k++) v[k] = sums.first[k], v[EIGHT + k] = sums.second[k];
    int first = 0;
    UNROLL(4)
    for (int step = 0; step < STEPS; step++) {
        const int half = EIGHT >> step, offset = OF_WARP << step;
        const bool upper = lane & offset;
        UNROLL(8)
        for (int k = 0; k < half; k++) {
            const float given = upper ? v[k] : v[k + half], kept = upper ? v[k + half] : v[k];
            v[k] = kept + shuffle_xor(given, offset);
        }
        first += upper ? half : 0;
    }
    if constexpr (OF_WARP == 1) v[0] += shuffle_xor(v[0], 16);
    if (OF_WARP > 1 || lane < 16) {
        UNROLL(4)
        for (int k = 0; k < 2 * EIGHT >> STEPS; k++) {
            const int at = (first + k) / EIGHT * SEEN_BY_WARP + lane % OF_WARP * EIGHT + (first + k) % EIGHT;
            shared_store_float(AT + (warp * 2 * SEEN_BY_WARP + at) * 4, v[k]);
        }
    }
    barrier();
    if (thread < 2 * SEEN) {
        const int own = thread % SEEN, at = thread / SEEN * SEEN_BY_WARP + own % SEEN_BY_WARP;
        float sum = 0;
        UNROLL(8)
        for (int w = 0; w < WARPS; w += PARTS) sum += shared_load_float(AT + ((w + own / SEEN_BY_WARP) * 2 * SEEN_BY_WARP + at) * 4);
        add_exactly(limbs + thread / SEEN * ALL + channel + own, 2 * ALL, sum);
    }
}
