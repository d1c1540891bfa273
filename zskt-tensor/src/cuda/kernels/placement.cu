// A map's place within a larger one of as many images: maps next to each other, or within zeros.
// Channels of a map, by themselves or in another order.

typedef struct {
    const Number *from, *plus;
    Number *to;
    unsigned batch, height, width, columns;             // of the part, and its packs per pixel
    unsigned whole_height, whole_width, whole_columns;  // of the larger map
    unsigned y, x, column;                              // where the part begins
} Placement;

INLINE unsigned place_in_whole(Placement a, unsigned index) {
    Spot spot = spot_of(index, a.height, a.width, a.columns);
    spot.y += a.y;
    spot.x += a.x;
    spot.column += a.column;
    return index_of(spot, a.whole_height, a.whole_width, a.whole_columns);
}

KERNEL(put_part, Placement) {
    EACH_PACK(index, a.batch * a.height * a.width * a.columns) {
        put_pack(a.to, place_in_whole(a, index), pack_at(a.from, index));
    }
}

KERNEL(take_part, Placement) {
    EACH_PACK(index, a.batch * a.height * a.width * a.columns) {
        const Pack from = pack_at(a.from, place_in_whole(a, index));
        Real values[PACK];
        for (unsigned k = 0; k < PACK; k++) values[k] = load(from.at[k]);
        put_plus(a.plus, a.to, index, values);
    }
}

// Channels that a map has of another: those from one on, or one of each of several groups in turn; zeros where that has none.
typedef struct {
    const Number *from, *plus;
    Number *to;
    unsigned pixels, columns, from_columns; // packs per pixel of the map, and of the other
    unsigned groups, skipped, before;       // as in ChannelSelection
} SelectChannels;

KERNEL(select_channels, SelectChannels) {
    EACH_PACK(index, a.pixels * a.columns) {
        const unsigned pixel = index / a.columns, column = index % a.columns;
        // In front of the other's first it wraps round, to far behind its last.
        const unsigned from = column % a.groups * (a.columns / a.groups) + column / a.groups + a.skipped - a.before;
        Real values[PACK];
        for (unsigned k = 0; k < PACK; k++) values[k] = 0;
        if (from < a.from_columns) {
            const Pack pack = pack_at(a.from, pixel * a.from_columns + from);
            for (unsigned k = 0; k < PACK; k++) values[k] = load(pack.at[k]);
        }
        put_plus(a.plus, a.to, index, values);
    }
}
