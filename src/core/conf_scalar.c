/* One scalar by its type, from text and back. */
#include <stdio.h>

#include "base/must.h"
#include "core/conf_part.h"

const char *const conf_word_off[] = { "off", NULL };

struct unit {
    const char *name;
    uint64_t factor;
};

/* the largest that divides comes out again when printing, so ascending */
static const struct unit ms_units[] = { { "ms", 1 },      { "s", 1000 },     { "m", 60000 },
                                        { "h", 3600000 }, { "d", 86400000 }, { NULL, 0 } };
static const struct unit byte_units[] = { { "", 1 },
                                          { "k", UINT64_C(1) << 10 },
                                          { "m", UINT64_C(1) << 20 },
                                          { "g", UINT64_C(1) << 30 },
                                          { "t", UINT64_C(1) << 40 },
                                          { NULL, 0 } };

#define DECIMAL "[0-9]+(\\.[0-9]+)?"
static const struct {
    const char *text;    /* "x is not ..." */
    const char *pattern; /* ECMA 262 */
    size_t size;
} types[] = {
    [CONF_BOOL] = { "a switch (true, false, on, off)", "(true|false|on|off)", sizeof(bool) },
    [CONF_INT] = { "a whole number (like 42)", "-?[0-9]+", sizeof(int64_t) },
    [CONF_BYTES] = { "a size in bytes (like 512, 16k, 1m, 2g)", DECIMAL "[kmgtKMGT]?", sizeof(uint64_t) },
    [CONF_MS] = { "a duration (like 500ms, 10s, 2m, 1h)", DECIMAL "(ms|s|m|h|d)", sizeof(uint64_t) },
    [CONF_PERCENT] = { "a share (like 30%, 0.5%)", DECIMAL "%", sizeof(double) },
    [CONF_RATE] = { "a rate (like 50/s, 1000/m, 10/h)", "[0-9]+/(" DECIMAL ")?(ms|s|m|h|d)",
                    sizeof(struct conf_rate) },
    [CONF_TEXT] = { "a text", ".+", sizeof(struct bytes) },
    [CONF_WORD] = { "a known word", "[^ ]+", sizeof(int) },
    [CONF_ADDR] = { "an address (like 10.0.0.1:80, [::1]:80, :8080, unix:/path)", "(.*:[0-9]+|unix:.+)",
                    sizeof(struct addr) },
    [CONF_REF] = { "a name", ".+", sizeof(struct bytes) },
};

bool conf_is_scalar(enum conf_type type)
{
    return type <= CONF_REF;
}

size_t conf_scalar_size(enum conf_type type)
{
    must(conf_is_scalar(type));
    return types[type].size;
}

size_t conf_value_size(enum conf_type type)
{
    if (type == CONF_STRUCT)
        return sizeof(void *);
    if (type == CONF_MODULE)
        return sizeof(struct conf_module);
    return conf_is_scalar(type) ? types[type].size : sizeof(struct conf_list);
}

const char *conf_type_text(enum conf_type type)
{
    return conf_is_scalar(type) ? types[type].text : NULL;
}

const char *conf_type_pattern(enum conf_type type)
{
    return conf_is_scalar(type) ? types[type].pattern : ".+";
}

static err type_fail(struct bytes text, const struct conf_field *f, struct diag *reterr)
{
    struct conf_shown shown;
    diag_set(reterr, "%s is not %s", conf_show(&shown, text), types[f->type].text);
    return ERR_CONF;
}

static err too_large(struct bytes text, struct diag *reterr)
{
    struct conf_shown shown;
    diag_set(reterr, "%s is too large", conf_show(&shown, text));
    return ERR_CONF;
}

/* ---- bounds */

bool conf_has_upper(const struct conf_field *f)
{
    return f->max != 0 || f->min < 0;
}

const char *conf_bound_print(const struct conf_field *f, double bound, char *out)
{
    int64_t whole = (int64_t)bound;
    uint64_t natural = (uint64_t)(bound < 0 ? 0 : bound);
    switch (f->type) {
    case CONF_INT:
        conf_scalar_print(&(struct conf_field){ .type = CONF_INT }, &whole, out);
        break;
    case CONF_BYTES:
    case CONF_MS:
        conf_scalar_print(&(struct conf_field){ .type = f->type }, &natural, out);
        break;
    case CONF_PERCENT:
        conf_scalar_print(&(struct conf_field){ .type = CONF_PERCENT }, &bound, out);
        break;
    default:
        snprintf(out, CONF_SCALAR_TEXT_BYTES_MAX, "%g", bound);
    }
    return out;
}

static err check_bounds(struct bytes text, const struct conf_field *f, double value, struct diag *reterr)
{
    if (f->min == 0 && f->max == 0)
        return OK;
    bool above = conf_has_upper(f) && value > f->max;
    if (value >= f->min && !above)
        return OK;
    struct conf_shown shown;
    char min[CONF_SCALAR_TEXT_BYTES_MAX], max[CONF_SCALAR_TEXT_BYTES_MAX];
    conf_show(&shown, text);
    conf_bound_print(f, f->min, min);
    if (conf_has_upper(f))
        diag_set(reterr, "%s is out of bounds: %s to %s", shown.text, min, conf_bound_print(f, f->max, max));
    else
        diag_set(reterr, "%s is out of bounds: at least %s", shown.text, min);
    return ERR_CONF;
}

/* ---- words */

static int word_find(const char *const *words, struct bytes text)
{
    for (int i = 0; words && words[i]; i++) {
        if (bytes_eq(bytes_from(words[i]), text))
            return i;
    }
    return -1;
}

static err parse_word(struct bytes text, const struct conf_field *f, void *out, struct diag *reterr)
{
    must(f->words != NULL);
    int i = word_find(f->words, text);
    if (i >= 0) {
        memcpy(out, &i, sizeof i);
        return OK;
    }
    char list[256];
    size_t at = 0;
    struct conf_near near;
    struct conf_shown shown;
    conf_near_begin(&near, text);
    for (i = 0; f->words[i]; i++) {
        conf_near_offer(&near, bytes_from(f->words[i]));
        int n = snprintf(&list[at], sizeof list - at, "%s%s", i ? ", " : "", f->words[i]);
        at = at + (size_t)n < sizeof list ? at + (size_t)n : sizeof list - 1;
    }
    diag_set(reterr, "%s is not one of %s%s", conf_show(&shown, text), list, conf_near_hint(&near));
    return ERR_CONF;
}

/* ---- numbers */

/* "12.5" before the unit: cuts *rest behind the digits. */
static bool take_decimal(struct bytes *rest, struct bytes *ret_whole, struct bytes *ret_fraction)
{
    size_t n = 0;
    while (n < rest->len && rest->ptr[n] >= '0' && rest->ptr[n] <= '9')
        n++;
    if (n == 0)
        return false;
    *ret_whole = (struct bytes){ rest->ptr, n };
    *ret_fraction = BYTES_NONE;
    *rest = bytes_skip(*rest, n);
    if (rest->len == 0 || rest->ptr[0] != '.')
        return true;
    *rest = bytes_skip(*rest, 1);
    for (n = 0; n < rest->len && rest->ptr[n] >= '0' && rest->ptr[n] <= '9';)
        n++;
    if (n == 0)
        return false;
    *ret_fraction = (struct bytes){ rest->ptr, n };
    *rest = bytes_skip(*rest, n);
    return true;
}

static const struct unit *unit_find(const struct unit *units, struct bytes name)
{
    for (; units->name; units++) {
        if (bytes_eq_nocase(bytes_from(units->name), name))
            return units;
    }
    return NULL;
}

/* ERR_SYNTAX: not a number with one of the units, or parts of the smallest unit; ERR_LIMIT: too large. */
static err parse_united(struct bytes text, const struct unit *units, uint64_t *ret_value)
{
    struct bytes rest = text, whole, fraction;
    if (!take_decimal(&rest, &whole, &fraction))
        return ERR_SYNTAX;
    const struct unit *u = unit_find(units, rest);
    if (!u)
        return ERR_SYNTAX;
    uint64_t value;
    if (!bytes_to_u64(whole, &value) || __builtin_mul_overflow(value, u->factor, &value))
        return ERR_LIMIT;
    /* digit by digit, exactly: factor * 0.abc, which must come out whole */
    uint64_t scale = 1, part = 0;
    for (size_t i = 0; i < fraction.len; i++) {
        if (i == 9)
            return ERR_SYNTAX;
        scale *= 10;
        part = part * 10 + (uint64_t)(fraction.ptr[i] - '0');
    }
    uint64_t product;
    if (__builtin_mul_overflow(u->factor, part, &product))
        return ERR_LIMIT;
    if (product % scale)
        return ERR_SYNTAX;
    if (__builtin_add_overflow(value, product / scale, &value) || value > INT64_MAX)
        return ERR_LIMIT;
    *ret_value = value;
    return OK;
}

static err parse_amount(struct bytes text, const struct conf_field *f, void *out, struct diag *reterr)
{
    uint64_t value;
    int word = word_find(f->words, text);
    if (word >= 0) {
        value = CONF_UINT_WORD(word);
        memcpy(out, &value, sizeof value);
        return OK;
    }
    err e = parse_united(text, f->type == CONF_MS ? ms_units : byte_units, &value);
    if (e)
        return e == ERR_LIMIT ? too_large(text, reterr) : type_fail(text, f, reterr);
    e = check_bounds(text, f, (double)value, reterr);
    if (!e)
        memcpy(out, &value, sizeof value);
    return e;
}

static err parse_int(struct bytes text, const struct conf_field *f, void *out, struct diag *reterr)
{
    int word = word_find(f->words, text);
    int64_t value = CONF_INT_WORD(word);
    if (word < 0) {
        bool negative = text.len > 0 && text.ptr[0] == '-';
        struct bytes digits = negative ? bytes_skip(text, 1) : text;
        uint64_t size;
        for (size_t i = 0; i < digits.len; i++) {
            if (digits.ptr[i] < '0' || digits.ptr[i] > '9')
                return type_fail(text, f, reterr);
        }
        if (digits.len == 0)
            return type_fail(text, f, reterr);
        if (!bytes_to_u64(digits, &size) || size > INT64_MAX)
            return too_large(text, reterr);
        value = negative ? -(int64_t)size : (int64_t)size;
        err e = check_bounds(text, f, (double)value, reterr);
        if (e)
            return e;
    }
    memcpy(out, &value, sizeof value);
    return OK;
}

#define PERCENT_DIGITS_MAX 9 /* on either side of the point: all that printing gives back */

static err parse_percent(struct bytes text, const struct conf_field *f, void *out, struct diag *reterr)
{
    struct bytes rest = text, whole, fraction;
    if (!take_decimal(&rest, &whole, &fraction) || !bytes_eq(rest, BYTES("%")) ||
        whole.len > PERCENT_DIGITS_MAX || fraction.len > PERCENT_DIGITS_MAX)
        return type_fail(text, f, reterr);
    double value = 0, scale = 1; /* by hand: strtod asks the locale */
    for (size_t i = 0; i < whole.len; i++)
        value = value * 10 + (whole.ptr[i] - '0');
    for (size_t i = 0; i < fraction.len; i++) {
        value = value * 10 + (fraction.ptr[i] - '0');
        scale *= 10;
    }
    value = value / scale / 100;
    struct conf_shown shown;
    if (value > 1) {
        diag_set(reterr, "%s is more than 100%%", conf_show(&shown, text));
        return ERR_CONF;
    }
    err e = check_bounds(text, f, value, reterr);
    if (!e)
        memcpy(out, &value, sizeof value);
    return e;
}

static err parse_rate(struct bytes text, const struct conf_field *f, void *out, struct diag *reterr)
{
    struct conf_rate rate;
    size_t slash = bytes_index(text, '/');
    if (slash == text.len)
        return type_fail(text, f, reterr);
    struct bytes count = { text.ptr, slash }, per = bytes_skip(text, slash + 1);
    err e = OK;
    const struct unit *u = unit_find(ms_units, per);
    if (u)
        rate.per_ms = u->factor;
    else
        e = parse_united(per, ms_units, &rate.per_ms);
    if (e || rate.per_ms == 0 || !bytes_to_u64(count, &rate.count) || rate.count > INT64_MAX)
        return type_fail(text, f, reterr);
    e = check_bounds(text, f, (double)rate.count, reterr);
    if (!e)
        memcpy(out, &rate, sizeof rate);
    return e;
}

/* ---- the rest */

static err parse_bool(struct bytes text, const struct conf_field *f, void *out, struct diag *reterr)
{
    static const char *const spellings[] = { "false", "true", "off", "on", NULL };
    int i = word_find(spellings, text);
    if (i < 0)
        return type_fail(text, f, reterr);
    *(bool *)out = i & 1;
    return OK;
}

static err parse_text(struct bytes text, struct arena *a, void *out, struct diag *reterr)
{
    if (text.len && memchr(text.ptr, 0, text.len)) {
        diag_set(reterr, "a NUL character cannot stand in a value");
        return ERR_CONF;
    }
    struct bytes copy = arena_copy(a, text);
    if (!copy.ptr)
        return ERR_MEMORY;
    memcpy(out, &copy, sizeof copy);
    return OK;
}

static err parse_addr(struct bytes text, const struct conf_field *f, void *out, struct diag *reterr)
{
    struct addr addr;
    if (addr_parse(text, &addr))
        return type_fail(text, f, reterr);
    memcpy(out, &addr, sizeof addr);
    return OK;
}

err conf_parse_scalar(struct bytes text, const struct conf_field *f, struct arena *a, void *out,
                      struct diag *reterr)
{
    switch (f->type) {
    case CONF_BOOL:
        return parse_bool(text, f, out, reterr);
    case CONF_INT:
        return parse_int(text, f, out, reterr);
    case CONF_BYTES:
    case CONF_MS:
        return parse_amount(text, f, out, reterr);
    case CONF_PERCENT:
        return parse_percent(text, f, out, reterr);
    case CONF_RATE:
        return parse_rate(text, f, out, reterr);
    case CONF_TEXT:
    case CONF_REF:
        return parse_text(text, a, out, reterr);
    case CONF_WORD:
        return parse_word(text, f, out, reterr);
    case CONF_ADDR:
        return parse_addr(text, f, out, reterr);
    default:
        must_fail("conf_is_scalar(f->type)", __FILE__, __LINE__);
    }
}

/* ---- back to text */

static size_t print_united(const struct unit *units, uint64_t value, char *out)
{
    const struct unit *best = units;
    for (const struct unit *u = units; u->name; u++) {
        if (value && value % u->factor == 0)
            best = u;
    }
    return (size_t)snprintf(out, CONF_SCALAR_TEXT_BYTES_MAX, "%llu%s",
                            (unsigned long long)(value / best->factor), best->name);
}

static size_t print_rate(const struct conf_rate *r, char *out)
{
    int n = snprintf(out, CONF_SCALAR_TEXT_BYTES_MAX, "%llu/", (unsigned long long)r->count);
    for (const struct unit *u = ms_units; u->name; u++) {
        if (u->factor == r->per_ms)
            return (size_t)snprintf(out, CONF_SCALAR_TEXT_BYTES_MAX, "%llu/%s", (unsigned long long)r->count,
                                    u->name);
    }
    char per[CONF_SCALAR_TEXT_BYTES_MAX];
    print_united(ms_units, r->per_ms, per);
    return (size_t)snprintf(out + n, (size_t)(CONF_SCALAR_TEXT_BYTES_MAX - n), "%.40s", per) + (size_t)n;
}

static size_t print_percent(double value, char *out)
{
    size_t n = (size_t)snprintf(out, CONF_SCALAR_TEXT_BYTES_MAX, "%.*f", PERCENT_DIGITS_MAX, value * 100);
    while (out[n - 1] == '0')
        n--;
    if (out[n - 1] == '.')
        n--;
    out[n] = '%';
    out[n + 1] = 0;
    return n + 1;
}

static int words_count(const char *const *words)
{
    int n = 0;
    while (words && words[n])
        n++;
    return n;
}

static size_t print_word(const char *word, char *out)
{
    return (size_t)snprintf(out, CONF_SCALAR_TEXT_BYTES_MAX, "%.100s", word);
}

size_t conf_scalar_print(const struct conf_field *f, const void *value, char out[CONF_SCALAR_TEXT_BYTES_MAX])
{
    int count = words_count(f->words);
    switch (f->type) {
    case CONF_BOOL:
        return print_word(*(const bool *)value ? "true" : "false", out);
    case CONF_INT: {
        int64_t v = *(const int64_t *)value;
        if (v < 0 && v >= CONF_INT_WORD(count - 1) && count)
            return print_word(f->words[-1 - v], out);
        return (size_t)snprintf(out, CONF_SCALAR_TEXT_BYTES_MAX, "%lld", (long long)v);
    }
    case CONF_BYTES:
    case CONF_MS: {
        uint64_t v = *(const uint64_t *)value;
        if (count && v >= CONF_UINT_WORD(count - 1))
            return print_word(f->words[UINT64_MAX - v], out);
        return print_united(f->type == CONF_MS ? ms_units : byte_units, v, out);
    }
    case CONF_PERCENT:
        return print_percent(*(const double *)value, out);
    case CONF_RATE:
        return print_rate(value, out);
    case CONF_WORD:
        must(*(const int *)value >= 0 && *(const int *)value < count);
        return print_word(f->words[*(const int *)value], out);
    case CONF_ADDR:
        return addr_print(value, out);
    default:
        must_fail("a scalar that is not text", __FILE__, __LINE__);
    }
}
