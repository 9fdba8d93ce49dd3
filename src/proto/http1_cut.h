/* http1_cut: the loop over field lines, compiled once per variant by http1_scan.c, so that its three scans
 * are inlined into it. Before including it define
 *
 *     VARIANT(name)   name##_scalar and the like
 *     TARGET          the function attribute that lets the compiler use the variant's instructions */

/* The end of one field line whose value starts at `value`: OK and where its text ends and the next line
 * begins. */
TARGET static inline err VARIANT(cut_value)(const struct http1_cut *cut, const char *line, const char *value,
                                            const char **ret_value_end, const char **ret_next)
{
    const char *p = VARIANT(value_end)(value, cut->base, cut->end);
    if ((size_t)(p - line) > cut->line_bytes_max)
        return ERR_LIMIT;
    if (p == cut->end)
        return ERR_AGAIN;
    if (*p != '\r')
        return ERR_SYNTAX;
    if (p + 1 == cut->end)
        return ERR_AGAIN;
    if (p[1] != '\n')
        return ERR_SYNTAX;
    *ret_next = p + 2;
    while (p > value && (p[-1] == ' ' || p[-1] == '\t'))
        p--;
    *ret_value_end = p;
    return OK;
}

/* One field line: name ":" OWS value OWS CRLF, RFC 9112 5. A line that starts with white space (obs-fold) has
 * an empty name and is refused with all others of that kind. */
TARGET static inline err VARIANT(cut_line)(struct http1_cut *cut)
{
    const char *line = cut->pos;
    const char *colon = VARIANT(token_end)(line, cut->base, cut->end);
    size_t name_len = (size_t)(colon - line);
    if (name_len > cut->line_bytes_max || name_len > UINT16_MAX)
        return ERR_LIMIT;
    if (colon == cut->end)
        return ERR_AGAIN;
    if (*colon != ':' || name_len == 0)
        return ERR_SYNTAX;
    const char *value = colon + 1;
    while (value < cut->end && (*value == ' ' || *value == '\t'))
        value++;
    const char *value_end;
    err e = VARIANT(cut_value)(cut, line, value, &value_end, &cut->pos);
    if (e)
        return e;
    unsigned id = http_field_id_find(line, name_len);
    uint32_t index = cut->fields->count++;
    cut->fields->at[index] = (struct http_field){
        .name = line,
        .value = value,
        .value_len = (uint32_t)(value_end - value),
        .name_len = (uint16_t)name_len,
        .id = (uint8_t)id,
        .flags = HTTP1_HOP_IDS >> id & 1 ? FIELD_HOP : 0,
    };
    cut->repeated |= cut->known & HTTP1_ID_BIT(id);
    cut->known |= HTTP1_ID_BIT(id);
    cut->index_of[id] = index;
    return OK;
}

TARGET static err VARIANT(cut_fields)(struct http1_cut *cut)
{
    for (;;) {
        if (cut->pos == cut->end)
            return ERR_AGAIN;
        if (*cut->pos == '\r')
            break;
        if (cut->fields->count == cut->fields_max)
            return ERR_LIMIT;
        err e = VARIANT(cut_line)(cut);
        if (e)
            return e;
    }
    if (cut->pos + 1 == cut->end)
        return ERR_AGAIN;
    if (cut->pos[1] != '\n')
        return ERR_SYNTAX;
    cut->pos += 2;
    return OK;
}

static const struct http1_scan VARIANT(scan) = {
    .name = VARIANT_NAME,
    .target_end = VARIANT(target_end),
    .value_end = VARIANT(value_end),
    .cut_fields = VARIANT(cut_fields),
};
