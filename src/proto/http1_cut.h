/* http1_cut: the loop over field lines, compiled once per variant by http1_scan.c, so that its scans are
 * inlined into it; so it is included more than once. Before including it define
 *
 *     VARIANT(name)   name_scalar and the like
 *     VARIANT_NAME    "scalar"
 *     TARGET          the function attribute that lets the compiler use the variant's instructions
 *
 * and the functions target_end, value_end, and over struct VARIANT(window), what the variant knows of the
 * bytes around the place it has reached: window_open, window_token_end, window_value_end. */

/* The end of one field line whose value starts at `value`: where its text ends and the next line begins. */
TARGET static inline err VARIANT(cut_value)(struct VARIANT(window) * w, uint32_t line_bytes_max,
                                            const char *line, const char *value, const char **ret_value_end,
                                            const char **ret_next)
{
    const char *p = VARIANT(window_value_end)(w, value);
    if ((size_t)(p - line) > line_bytes_max)
        return ERR_LIMIT;
    if (p == w->end)
        return ERR_AGAIN;
    if (*p != '\r')
        return ERR_SYNTAX;
    if (p + 1 == w->end)
        return ERR_AGAIN;
    if (p[1] != '\n')
        return ERR_SYNTAX;
    *ret_next = p + 2;
    while (p > value && (p[-1] == ' ' || p[-1] == '\t'))
        p--;
    *ret_value_end = p;
    return OK;
}

/* One field line at *pos: name ":" OWS value OWS CRLF, RFC 9112 5. A line that starts with white space
 * (obs-fold) has an empty name and is refused with all others of that kind. Moves *pos behind it. */
TARGET static inline err VARIANT(cut_line)(struct VARIANT(window) * w, uint32_t line_bytes_max,
                                           const char **pos, struct http_field *ret)
{
    const char *line = *pos;
    const char *colon = VARIANT(window_token_end)(w, line);
    size_t name_len = (size_t)(colon - line);
    if (name_len > line_bytes_max || name_len > UINT16_MAX)
        return ERR_LIMIT;
    if (colon == w->end)
        return ERR_AGAIN;
    if (*colon != ':' || name_len == 0)
        return ERR_SYNTAX;
    const char *value = colon + 1;
    while (value < w->end && (*value == ' ' || *value == '\t'))
        value++;
    const char *value_end;
    err e = VARIANT(cut_value)(w, line_bytes_max, line, value, &value_end, pos);
    if (e)
        return e;
    unsigned id = http_field_id_find(line, name_len);
    *ret = (struct http_field){
        .name = line,
        .value = value,
        .value_len = (uint32_t)(value_end - value),
        .name_len = (uint16_t)name_len,
        .id = (uint8_t)id,
        .flags = HTTP1_HOP_IDS >> id & 1 ? FIELD_HOP : 0,
    };
    return OK;
}

/* All that changes with every line is kept in locals, which the compiler can hold in registers. */
TARGET static err VARIANT(cut_fields)(struct http1_cut *cut)
{
    struct VARIANT(window) w;
    const char *pos = cut->pos;
    const uint32_t line_bytes_max = cut->line_bytes_max;
    struct http_field *at = cut->fields->at;
    uint32_t count = 0;
    uint64_t known = 0, repeated = 0;
    VARIANT(window_open)(&w, cut);
    for (; pos < w.end && *pos != '\r'; count++) {
        if (count == cut->fields_max)
            return ERR_LIMIT;
        err e = VARIANT(cut_line)(&w, line_bytes_max, &pos, &at[count]);
        if (e)
            return e;
        uint64_t bit = HTTP1_ID_BIT(at[count].id);
        repeated |= known & bit;
        known |= bit;
        cut->index_of[at[count].id] = count;
    }
    err e = http1_read_crlf(&pos, w.end);
    if (e)
        return e;
    cut->pos = pos;
    cut->fields->count = count;
    cut->known = known;
    cut->repeated = repeated;
    return OK;
}

static const struct http1_scan VARIANT(scan) = {
    .name = VARIANT_NAME,
    .target_end = VARIANT(target_end),
    .value_end = VARIANT(value_end),
    .cut_fields = VARIANT(cut_fields),
};
