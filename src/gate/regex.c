#include "gate/regex.h"

#include <pthread.h>

#include "base/mem.h"
#include "base/must.h"

/* ---- the literal head: of the text, so that it needs no library ---- */

static bool is_meta(char c)
{
    return c == 0 || strchr("\\^$.[]|()?*+{}", c) != NULL;
}

/* An alternative outside of groups makes what stands first just one of several. */
static bool has_open_alternative(struct bytes p)
{
    int depth = 0;
    for (size_t i = 0; i < p.len; i++) {
        if (p.ptr[i] == '\\')
            i++;
        else if (p.ptr[i] == '[') /* the first ] of a class may be literal: any | from here on counts */
            return bytes_index(bytes_skip(p, i), '|') < p.len - i;
        else if (p.ptr[i] == '(')
            depth++;
        else if (p.ptr[i] == ')')
            depth--;
        else if (p.ptr[i] == '|' && depth <= 0)
            return true;
    }
    return false;
}

size_t regex_literal_head(struct bytes pattern, char *out, size_t size)
{
    size_t len = 0;
    if (has_open_alternative(pattern))
        return 0;
    if (pattern.len && pattern.ptr[0] == '^')
        pattern = bytes_skip(pattern, 1);
    while (pattern.len && len < size) {
        char c = pattern.ptr[0];
        size_t took = 1;
        if (c == '\\' && pattern.len > 1 && strchr("./-+*?()[]{}|^$\\", pattern.ptr[1]) && pattern.ptr[1]) {
            c = pattern.ptr[1];
            took = 2;
        } else if (is_meta(c)) {
            break;
        }
        char next = pattern.len > took ? pattern.ptr[took] : '/';
        if (next == '?' || next == '*' || next == '{') /* it may be missing */
            break;
        out[len++] = c;
        pattern = bytes_skip(pattern, took);
    }
    return len;
}

#if WEIR_HAVE_PCRE2
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#define JIT_STACK_BYTES_MIN (32 * 1024)
#define JIT_STACK_BYTES_MAX (512 * 1024)
#define HEAP_KIB_MAX 4096

struct regex {
    pcre2_code *code;
    unsigned groups;
    struct bytes names[REGEX_GROUPS_MAX];
};

/* What one thread matches with. */
struct scratch {
    pcre2_match_context *context;
    pcre2_match_data *data;
    pcre2_jit_stack *stack;
};

static void *get(size_t size, void *arg)
{
    (void)arg;
    return mem_get(size);
}

static void put(void *memory, void *arg)
{
    (void)arg;
    mem_free(memory);
}

static pthread_key_t scratch_key;
static pthread_once_t scratch_once = PTHREAD_ONCE_INIT;
static _Thread_local struct scratch *scratch;

static void scratch_free(void *arg)
{
    struct scratch *s = arg;
    pcre2_jit_stack_free(s->stack);
    pcre2_match_data_free(s->data);
    pcre2_match_context_free(s->context);
    mem_free(s);
}

static void scratch_init(void)
{
    must(pthread_key_create(&scratch_key, scratch_free) == 0);
}

err regex_ready(void)
{
    if (scratch)
        return OK;
    pthread_once(&scratch_once, scratch_init);
    struct scratch *s = mem_get(sizeof *s);
    pcre2_general_context *general = pcre2_general_context_create(get, put, NULL);
    if (s && general) {
        s->context = pcre2_match_context_create(general);
        s->data = pcre2_match_data_create(REGEX_GROUPS_MAX, general);
        s->stack = pcre2_jit_stack_create(JIT_STACK_BYTES_MIN, JIT_STACK_BYTES_MAX, general);
    }
    pcre2_general_context_free(general);
    if (!s || !s->context || !s->data || !s->stack || pthread_setspecific(scratch_key, s) != 0) {
        if (s)
            scratch_free(s);
        return ERR_MEMORY;
    }
    pcre2_set_match_limit(s->context, REGEX_STEPS_MAX);
    pcre2_set_heap_limit(s->context, HEAP_KIB_MAX);
    pcre2_jit_stack_assign(s->context, NULL, s->stack);
    scratch = s;
    return OK;
}

static void find_names(struct regex *r)
{
    uint32_t count = 0, size = 0, groups = 0;
    PCRE2_SPTR at = NULL;
    pcre2_pattern_info(r->code, PCRE2_INFO_CAPTURECOUNT, &groups);
    pcre2_pattern_info(r->code, PCRE2_INFO_NAMECOUNT, &count);
    pcre2_pattern_info(r->code, PCRE2_INFO_NAMEENTRYSIZE, &size);
    pcre2_pattern_info(r->code, PCRE2_INFO_NAMETABLE, &at);
    r->groups = groups < REGEX_GROUPS_MAX ? groups : REGEX_GROUPS_MAX - 1;
    for (uint32_t i = 0; i < count; i++, at += size) {
        unsigned group = (unsigned)at[0] << 8 | at[1];
        if (group < REGEX_GROUPS_MAX)
            r->names[group] = bytes_from((const char *)at + 2);
    }
}

static err compile(struct regex *r, struct bytes pattern, enum regex_anchor anchor,
                   pcre2_compile_context *context, struct diag *reterr)
{
    uint32_t options = PCRE2_NEVER_BACKSLASH_C | PCRE2_NEVER_UTF | PCRE2_DOLLAR_ENDONLY;
    if (anchor == REGEX_WHOLE)
        options |= PCRE2_ANCHORED | PCRE2_ENDANCHORED;
    int why;
    PCRE2_SIZE at;
    pcre2_set_max_pattern_length(context, REGEX_BYTES_MAX);
    r->code = pcre2_compile((PCRE2_SPTR)pattern.ptr, pattern.len, options, &why, &at, context);
    if (!r->code) {
        char words[160];
        pcre2_get_error_message(why, (PCRE2_UCHAR *)words, sizeof words);
        diag_set(reterr, "the regular expression \"%.*s\" is wrong at byte %zu: %s", BYTES_ARG(pattern),
                 at + 1, words);
        return ERR_CONF;
    }
    (void)pcre2_jit_compile(r->code, PCRE2_JIT_COMPLETE); /* where it may not be compiled it is interpreted */
    find_names(r);
    return OK;
}

err regex_compile(struct bytes pattern, enum regex_anchor anchor, struct regex **ret_regex,
                  struct diag *reterr)
{
    struct regex *r = mem_get(sizeof *r);
    pcre2_general_context *general = pcre2_general_context_create(get, put, NULL);
    pcre2_compile_context *context = general ? pcre2_compile_context_create(general) : NULL;
    err e = r && context ? compile(r, pattern, anchor, context, reterr) : ERR_MEMORY;
    pcre2_compile_context_free(context);
    pcre2_general_context_free(general);
    if (e) {
        mem_free(r);
        return e;
    }
    *ret_regex = r;
    return OK;
}

void regex_free(struct regex *r)
{
    if (!r)
        return;
    pcre2_code_free(r->code);
    mem_free(r);
}

err regex_match(const struct regex *r, struct bytes subject, size_t from, struct regex_match *ret_match)
{
    ret_match->count = 0;
    if (regex_ready() != OK)
        return ERR_LIMIT;
    const char *text = subject.ptr ? subject.ptr : "";
    int n = pcre2_match(r->code, (PCRE2_SPTR)text, subject.len, from, PCRE2_NO_UTF_CHECK, scratch->data,
                        scratch->context);
    if (n == PCRE2_ERROR_NOMATCH)
        return OK;
    if (n < 0)
        return ERR_LIMIT;
    const PCRE2_SIZE *ends = pcre2_get_ovector_pointer(scratch->data);
    unsigned count = n == 0 ? REGEX_GROUPS_MAX : (unsigned)n;
    for (unsigned i = 0; i < count; i++) {
        bool took_part = ends[2 * i] != PCRE2_UNSET && ends[2 * i] <= ends[2 * i + 1];
        ret_match->groups[i] =
            took_part ? (struct bytes){ text + ends[2 * i], ends[2 * i + 1] - ends[2 * i] } : BYTES_NONE;
    }
    ret_match->count = count;
    return OK;
}

unsigned regex_groups(const struct regex *r)
{
    return r->groups;
}

struct bytes regex_group_name(const struct regex *r, unsigned i)
{
    return i < REGEX_GROUPS_MAX ? r->names[i] : BYTES_NONE;
}

#else

err regex_compile(struct bytes pattern, enum regex_anchor anchor, struct regex **ret_regex,
                  struct diag *reterr)
{
    (void)pattern;
    (void)anchor;
    (void)ret_regex;
    diag_set(reterr, "regular expressions need PCRE2, and this weir was built without it");
    return ERR_CONF;
}

void regex_free(struct regex *r)
{
    must(r == NULL);
}

err regex_ready(void)
{
    return OK;
}

err regex_match(const struct regex *r, struct bytes subject, size_t from, struct regex_match *ret_match)
{
    (void)subject;
    (void)from;
    must(r == NULL);
    ret_match->count = 0;
    return OK;
}

unsigned regex_groups(const struct regex *r)
{
    must(r == NULL);
    return 0;
}

struct bytes regex_group_name(const struct regex *r, unsigned i)
{
    (void)i;
    must(r == NULL);
    return BYTES_NONE;
}
#endif
