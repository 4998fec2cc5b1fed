# transcript.awk: what a command prints, brought into the form in which a page shows it.
#
#   awk -f transcript.awk SHOWN PRINTED
#
# SHOWN is what the page has, PRINTED what the command prints now. A line "..." of SHOWN stands for any number of lines;
# each other line must look like one of PRINTED, in order: the same but for numbers. Prints the lines of PRINTED in the
# places of those that they look like, and ends with 0; when they do not, prints PRINTED whole and ends with 1.

# A line without its numbers, and without what depends on them or on the machine.
function shape(line) {
    gsub(/[0-9]+([.][0-9]+)?(e[-+][0-9]+)?/, "#", line)
    gsub(/#([-,]#)+/, "#", line)          # a list of cores
    gsub(/(#h )?#m #s/, "#s", line)       # a duration
    gsub(/# [kKMG]B/, "# B", line)
    gsub(/# threads/, "# thread", line)
    gsub(/kernels [^,]*/, "kernels", line)
    gsub(/#(%| %)/, "#%", line)
    gsub(/ +/, " ", line)
    gsub(/ ?#+[ #]*$/, " #", line)         # a bar of a histogram
    return line
}

# Do the lines of the page from s on look like those printed from p on? Sets place[].
function fits(s, p,    q) {
    if (s > shown_count) return p > printed_count
    if ((s, p) in hopeless) return 0
    if (shown[s] == "...") {
        for (q = p; q <= printed_count + 1; q++) if (fits(s + 1, q)) return 1
    } else if (p <= printed_count && shape(shown[s]) == shape(printed[p])) {
        place[s] = p
        if (fits(s + 1, p + 1)) return 1
    }
    hopeless[s, p] = 1
    return 0
}

{ sub(/[ \t\r]+$/, "") }
FILENAME == ARGV[1] { shown[++shown_count] = $0; next }
{ printed[++printed_count] = $0 }

END {
    while (printed_count > 0 && printed[printed_count] == "") printed_count--
    if (fits(1, 1)) {
        for (i = 1; i <= shown_count; i++) print shown[i] == "..." ? "..." : printed[place[i]]
        exit 0
    }
    for (i = 1; i <= printed_count; i++) print printed[i]
    exit 1
}
