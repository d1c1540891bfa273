// The gradients of many weights from their parts, in one launch: of 128 numbers a block, each of whose warps sums every eighth part.

struct Total {
    const float *partial; // [parts][outputs][taps][inputs]
    float *weight;        // [outputs][inputs][taps]
    unsigned parts, outputs, taps, inputs, first_block;
};
struct AddUp {
    static constexpr int MOST = 40, NUMBERS = 128, SHARED = WARPS * NUMBERS * 8, RESIDENT = 8;
    Total totals[MOST];
    unsigned count;
};
DEVICE void add_up(const AddUp &a) {
    unsigned which = 0;
    while (which + 1 < a.count && a.totals[which + 1].first_block <= block_index()) which++;
    const Total &total = a.totals[which];
    const unsigned thread = thread_index(), lane = thread % 32, warp = thread / 32, size = total.outputs * total.taps * total.inputs;
    const unsigned first = (block_index() - total.first_block) * AddUp::NUMBERS, number = first + lane * 4;
    double sums[4] = {};
    if (number < size) {
        constexpr int AT_ONCE = 8;
        for (unsigned part = warp; part < total.parts; part += AT_ONCE * WARPS) {
            Quad quads[AT_ONCE];
            UNROLL(8)
            for (int i = 0; i < AT_ONCE; i++) {
                quads[i] = Quad{};
                if (part + i * WARPS < total.parts) quads[i] = load_quad(total.partial + (size_t)(part + i * WARPS) * size + number);
            }
            UNROLL(8)
            for (int i = 0; i < AT_ONCE; i++) {
                UNROLL(4)
                for (int k = 0; k < 4; k++) sums[k] += (double)as_float(quads[i].at[k]);
            }
        }
    }
    UNROLL(4)
    for (int k = 0; k < 4; k++) shared_store_double((warp * AddUp::NUMBERS + lane * 4 + k) * 8, sums[k]);
    barrier();
    if (thread < AddUp::NUMBERS && first + thread < size) {
        double sum = 0;
        UNROLL(8)
        for (int w = 0; w < WARPS; w++) sum += shared_load_double((w * AddUp::NUMBERS + thread) * 8);
        const unsigned at = first + thread, input = at % total.inputs, tap = at / total.inputs % total.taps, out = at / total.inputs / total.taps;
        store(total.weight + ((out * total.inputs + input) * total.taps + tap), (float)sum);
    }
}
