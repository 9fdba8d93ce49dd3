/* The nearest known word, and text from outside made fit for a message. */
#include <stdio.h>

#include "core/conf_part.h"

#define NEAR_WORD_BYTES_MAX 48

static size_t min3(size_t a, size_t b, size_t c)
{
    size_t least = a < b ? a : b;
    return least < c ? least : c;
}

/* Damerau-Levenshtein (optimal string alignment): insert, remove, replace, swap neighbours, at cost 1 each.
 */
static size_t edit_distance(struct bytes a, struct bytes b)
{
    size_t rows[3][NEAR_WORD_BYTES_MAX + 1];
    size_t *before = rows[0], *last = rows[1], *now = rows[2];
    for (size_t j = 0; j <= b.len; j++)
        last[j] = j;
    for (size_t i = 1; i <= a.len; i++) {
        now[0] = i;
        for (size_t j = 1; j <= b.len; j++) {
            char x = ascii_lower(a.ptr[i - 1]), y = ascii_lower(b.ptr[j - 1]);
            now[j] = min3(last[j] + 1, now[j - 1] + 1, last[j - 1] + (x != y));
            bool swapped = i > 1 && j > 1 && x == ascii_lower(b.ptr[j - 2]) && ascii_lower(a.ptr[i - 2]) == y;
            if (swapped && before[j - 2] + 1 < now[j])
                now[j] = before[j - 2] + 1;
        }
        size_t *spare = before;
        before = last;
        last = now;
        now = spare;
    }
    return last[b.len];
}

void conf_near_begin(struct conf_near *near, struct bytes wrong)
{
    *near = (struct conf_near){ .wrong = wrong, .distance = SIZE_MAX };
}

void conf_near_offer(struct conf_near *near, struct bytes word)
{
    if (near->wrong.len > NEAR_WORD_BYTES_MAX || word.len > NEAR_WORD_BYTES_MAX || near->wrong.len < 2)
        return;
    size_t longer = near->wrong.len > word.len ? near->wrong.len : word.len;
    size_t limit = longer < 6 ? 1 + (longer > 3) : longer / 3; /* a word is not another word entirely */
    size_t distance = edit_distance(near->wrong, word);
    if (distance > limit || distance >= longer || distance >= near->distance)
        return;
    near->best = word;
    near->distance = distance;
}

const char *conf_near_hint(struct conf_near *near)
{
    if (near->distance == SIZE_MAX)
        return "";
    snprintf(near->hint, sizeof near->hint, "; did you mean \"%.*s\"?", BYTES_ARG(near->best));
    return near->hint;
}

#define SHOWN_BYTES_MAX 60

static const char *show(struct conf_shown *out, struct bytes text, bool bare)
{
    size_t len = text.len;
    if (len > SHOWN_BYTES_MAX) {
        len = SHOWN_BYTES_MAX;
        while (len > 0 && ((unsigned char)text.ptr[len] & 0xc0) == 0x80)
            len--; /* not in the middle of a character */
    }
    size_t at = 0;
    if (!bare)
        out->text[at++] = '"';
    for (size_t i = 0; i < len; i++) {
        char c = text.ptr[i];
        out->text[at++] = (unsigned char)c < ' ' || c == 0x7f ? '?' : c;
    }
    if (len < text.len) {
        memcpy(&out->text[at], "...", 3);
        at += 3;
    }
    if (!bare)
        out->text[at++] = '"';
    out->text[at] = 0;
    return out->text;
}

const char *conf_show(struct conf_shown *out, struct bytes text)
{
    bool bare = text.len > 0 && text.len <= SHOWN_BYTES_MAX;
    for (size_t i = 0; i < text.len && bare; i++)
        bare = (unsigned char)text.ptr[i] > ' ' && text.ptr[i] != '"' && text.ptr[i] != 0x7f;
    return show(out, text, bare);
}

const char *conf_quote(struct conf_shown *out, struct bytes text)
{
    return show(out, text, false);
}
