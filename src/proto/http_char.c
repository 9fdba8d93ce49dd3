#include "proto/http_char.h"

#define T HTTP_CHAR_TOKEN
#define V HTTP_CHAR_VALUE
#define G (HTTP_CHAR_TARGET | HTTP_CHAR_VALUE)
#define R HTTP_CHAR_REG_NAME
#define X HTTP_CHAR_HEX_DIGIT

const uint8_t http_char[256] = {
    ['\t'] = V,
    [' '] = V,
    ['!'] = T | G | R,
    ['"'] = G,
    ['#'] = T | V,
    ['$'] = T | G | R,
    ['%'] = T | G,
    ['&'] = T | G | R,
    ['\''] = T | G | R,
    ['('] = G | R,
    [')'] = G | R,
    ['*'] = T | G | R,
    ['+'] = T | G | R,
    [','] = G | R,
    ['-'] = T | G | R,
    ['.'] = T | G | R,
    ['/'] = G,
    ['0' ... '9'] = T | G | R | X,
    [':'] = G,
    [';'] = G | R,
    ['<'] = G,
    ['='] = G | R,
    ['>'] = G,
    ['?'] = G,
    ['@'] = G,
    ['A' ... 'F'] = T | G | R | X,
    ['G' ... 'Z'] = T | G | R,
    ['['] = G,
    ['\\'] = G,
    [']'] = G,
    ['^'] = T | G,
    ['_'] = T | G | R,
    ['`'] = T | G,
    ['a' ... 'f'] = T | G | R | X,
    ['g' ... 'z'] = T | G | R,
    ['{'] = G,
    ['|'] = T | G,
    ['}'] = G,
    ['~'] = T | G | R,
    [0x80 ... 0xff] = V,
};
