#include "dist/monitor/html.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/memory.h"
#include "core/base/printable.h"

/* Eight colours that are told apart on both grounds. Cards stand in rows of four, narrow screens have two; the last one
 * takes what is left of its row. Text in a chart grows as the chart shrinks. */
static const char STYLE[] =
    ":root{color-scheme:light dark;--back:#fff;--text:#1b1f24;--soft:#5c6670;--rule:#d9dee3;--card:#f4f6f8;"
    "--s0:#1f6fd0;--s1:#c2500a;--s2:#0b7a5f;--s3:#8a3fb5;--s4:#b3261e;--s5:#6b6a00;--s6:#00718f;--s7:#9a3a6b}\n"
    "@media(prefers-color-scheme:dark){:root{--back:#14171a;--text:#e4e8ec;--soft:#98a3ad;--rule:#31383f;"
    "--card:#1d2226;--s0:#6cacff;--s1:#ff9d57;--s2:#4fd0aa;--s3:#c79bf2;--s4:#ff8a80;--s5:#d6d45a;--s6:#5cc8e6;"
    "--s7:#f29ac7}}\n"
    "*{box-sizing:border-box}\n"
    "body{background:var(--back);color:var(--text);font:15px/1.5 system-ui,sans-serif;max-width:1180px;margin:0 auto;"
    "padding:24px}\n"
    "h1{font-size:24px;margin:0;overflow-wrap:anywhere}h2{font-size:18px;margin:32px 0 8px}\n"
    "p{margin:4px 0 20px;color:var(--soft)}\n"
    ".cards{display:grid;grid-template-columns:repeat(4,1fr);gap:12px}\n"
    ".cards div{background:var(--card);border-radius:6px;padding:10px 14px;color:var(--soft);font-size:13px;"
    "overflow-wrap:anywhere}\n"
    ".cards div:last-child:nth-child(4n+1){grid-column:span 4}.cards div:last-child:nth-child(4n+2){grid-column:span 3}"
    ".cards div:last-child:nth-child(4n+3){grid-column:span 2}\n"
    ".cards b{display:block;color:var(--text);font-size:20px;font-weight:600}\n"
    ".plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,480px),1fr));gap:20px 28px;"
    "margin-top:28px}\n"
    "figure{margin:0}figcaption{color:var(--soft)}figcaption b{color:var(--text)}svg{width:100%;display:block}\n"
    ".tick{font-size:12px;fill:var(--soft)}.grid,.axis{stroke:var(--rule);fill:none}.axis{stroke:var(--soft)}\n"
    ".line{fill:none;stroke-width:1.6;stroke-linejoin:round}.hover{fill:transparent}\n"
    ".hover:hover{fill:var(--soft);fill-opacity:.14}\n"
    ".mark{stroke:var(--soft);stroke-width:1}.mark.start{stroke-dasharray:2 3}\n"
    ".level{stroke:var(--text);stroke-width:1.2;stroke-dasharray:7 4}\n"
    ".s0{stroke:var(--s0)}.s1{stroke:var(--s1)}.s2{stroke:var(--s2)}.s3{stroke:var(--s3)}.s4{stroke:var(--s4)}"
    ".s5{stroke:var(--s5)}.s6{stroke:var(--s6)}.s7{stroke:var(--s7)}\n"
    ".dot.s0{fill:var(--s0)}.dot.s1{fill:var(--s1)}.dot.s2{fill:var(--s2)}.dot.s3{fill:var(--s3)}"
    ".dot.s4{fill:var(--s4)}.dot.s5{fill:var(--s5)}.dot.s6{fill:var(--s6)}.dot.s7{fill:var(--s7)}\n"
    ".key{margin-left:10px;font-size:13px;display:inline-flex;align-items:baseline;max-width:calc(100% - 10px);"
    "overflow-wrap:anywhere}\n"
    ".key::before{content:'';flex:none;width:14px;height:3px;margin:0 5px 4px 0;background:currentColor}\n"
    ".key.s0{color:var(--s0)}.key.s1{color:var(--s1)}.key.s2{color:var(--s2)}.key.s3{color:var(--s3)}"
    ".key.s4{color:var(--s4)}.key.s5{color:var(--s5)}.key.s6{color:var(--s6)}.key.s7{color:var(--s7)}"
    ".key.none{color:var(--soft)}.note{margin-left:10px;font-size:13px;display:inline-block}\n"
    ".scroll{overflow:auto;max-height:420px}table{border-collapse:collapse;width:100%;font-variant-numeric:"
    "tabular-nums}\n"
    "th,td{text-align:right;padding:3px 12px;border-bottom:1px solid var(--rule);white-space:nowrap}\n"
    "th{position:sticky;top:0;background:var(--back);color:var(--soft);font-weight:500}tr.best td{font-weight:700}\n"
    ".facts th,.facts "
    "td{text-align:left;vertical-align:top;padding-left:0;overflow-wrap:anywhere;position:static;white-space:normal}\n"
    ".facts th{width:150px}.text{text-align:left}.name{min-width:120px;max-width:340px;"
    "overflow-wrap:anywhere;white-space:normal}\n"
    "summary{overflow-wrap:anywhere}pre{background:var(--card);padding:14px;border-radius:6px;overflow:auto;font-size:"
    "13px}\n"
    "@media(max-width:700px){body{padding:16px}.cards{grid-template-columns:repeat(2,1fr)}"
    ".cards div:last-child:nth-child(n){grid-column:auto}.cards div:last-child:nth-child(odd){grid-column:span 2}"
    ".tick{font-size:19px}.thin{display:none}.facts th{width:122px}}\n";

void html_text(FILE *out, const char *text)
{
    size_t size = 4 * strlen(text) + 1;
    char *shown = memory_alloc((int64_t)size, 1, "a text", &(Error){0});
    if (!shown) return;
    for (const char *at = printable_lines(shown, size, text); *at; at++) {
        const char *entity = *at == '<'   ? "&lt;"
                             : *at == '>' ? "&gt;"
                             : *at == '&' ? "&amp;"
                             : *at == '"' ? "&quot;"
                                          : NULL;
        if (entity)
            fputs(entity, out);
        else
            fputc(*at, out);
    }
    free(shown);
}

void html_begin(FILE *out, const char *title)
{
    fprintf(out, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
                 "content=\"width=device-width,initial-scale=1\">\n<title>");
    html_text(out, title);
    fprintf(out, "</title>\n<style>\n%s</style></head>\n<body><h1>", STYLE);
    html_text(out, title);
    fprintf(out, "</h1>\n");
}

void html_end(FILE *out)
{
    fprintf(out, "</body></html>\n");
}

void html_fact(FILE *out, const char *name, const char *format, ...)
{
    char text[4096];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    fprintf(out, "<tr><th>%s</th><td>", name);
    html_text(out, text);
    fprintf(out, "</td></tr>\n");
}

void html_card(FILE *out, const char *name, const char *format, ...)
{
    va_list arguments;
    fprintf(out, "<div><b>");
    va_start(arguments, format);
    vfprintf(out, format, arguments);
    va_end(arguments);
    fprintf(out, "</b>%s</div>\n", name);
}
