/* contact_sheet_text.c: letters for a contact sheet. */
#include <ctype.h>
#include <string.h>

#include "tools/contact_sheet.h"

/* Five rows of three cells, from the top; the highest of the three bits is the left cell. Written in octal, a digit is
 * a row. */
static unsigned glyph(int c)
{
    static const unsigned DIGITS[10] = {075557, 026227, 071747, 071717, 055711, 074717, 074757, 071122, 075757, 075717};
    static const unsigned LETTERS[26] = {025755, 065656, 034443, 065556, 074747, 074744, 034553, 055755, 072227,
                                         011153, 055655, 044447, 057755, 065555, 025552, 065644, 025531, 065655,
                                         034216, 072222, 055557, 055552, 055775, 055255, 055222, 071247};
    c = toupper(c);
    if (isdigit(c)) return DIGITS[c - '0'];
    if (c >= 'A' && c <= 'Z') return LETTERS[c - 'A'];
    switch (c) {
    case '-':
        return 000700;
    case '_':
        return 000007;
    case '.':
        return 000002;
    case ',':
        return 000024;
    case '/':
        return 011244;
    case ':':
        return 002020;
    case '\'':
        return 022000;
    case '(':
        return 012221;
    case ')':
        return 042224;
    case ' ':
        return 0;
    default:
        return 077777;
    }
}

static void fill_cell(unsigned char *pixels, int row_bytes, int scale)
{
    for (int y = 0; y < scale; y++) memset(pixels + y * row_bytes, 235, (size_t)scale * 3);
}

void sheet_text(unsigned char *pixels, int row_bytes, int width, int scale, const char *text)
{
    for (int x = 0; *text && x + GLYPH_WIDTH * scale <= width; text++, x += (GLYPH_WIDTH + 1) * scale) {
        unsigned cells = glyph((unsigned char)*text);
        for (int cell = 0; cell < GLYPH_WIDTH * GLYPH_HEIGHT; cell++) {
            if (!(cells >> (GLYPH_WIDTH * GLYPH_HEIGHT - 1 - cell) & 1)) continue;
            int left = x + cell % GLYPH_WIDTH * scale, top = cell / GLYPH_WIDTH * scale;
            fill_cell(pixels + top * row_bytes + left * 3, row_bytes, scale);
        }
    }
}
