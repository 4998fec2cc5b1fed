"""Reports in a real browser, headless Chromium: at 1280 and 390 pixels, light and dark, nothing is fetched, no text leaves its box or the
page, ticks are legible. Python's standard library alone; needs `chromium` in the PATH.

    tests/peer/pages.py [--pictures DIR] [RUN...]      runs to report on, besides two that are made here
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

from report import Report

T2T = os.environ.get("T2T", "build/t2t")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--host-resolver-rules=MAP * ~NOTFOUND"]

# Measures the page, whose width a frame sets, and puts what it finds into an element. Who scrolls may be wider inside.
MEASURE = """<script>
addEventListener('load', () => {
  const wide = document.documentElement.clientWidth, found = [];
  const scrolls = e => e && (e.closest('.scroll') || e.closest('pre'));
  if (document.documentElement.scrollWidth > wide) found.push('page ' + document.documentElement.scrollWidth);
  for (const e of document.querySelectorAll('h1,h2,p,td,th,.cards div,.key,figcaption,summary,b')) {
    if (scrolls(e) || !e.offsetParent) continue;
    const box = e.getBoundingClientRect();
    if (box.right > wide + 1 || e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).display !== 'inline')
      found.push(e.tagName + ' ' + e.textContent.slice(0, 40));
  }
  let least = 99;
  for (const t of document.querySelectorAll('svg text')) {
    const box = t.getBoundingClientRect(), svg = t.closest('svg').getBoundingClientRect();
    if (getComputedStyle(t).display === 'none') continue;
    least = Math.min(least, box.height);
    if (box.left < svg.left - 1 || box.right > svg.right + 1 || box.bottom > svg.bottom + 1)
      found.push('tick ' + t.textContent);
  }
  for (const svg of document.querySelectorAll('figure > svg')) {
    const row = [...svg.querySelectorAll('text[text-anchor=middle]')].filter(t => getComputedStyle(t).display !== 'none');
    for (let i = 1; i < row.length; i++)
      if (row[i].getBoundingClientRect().left < row[i - 1].getBoundingClientRect().right) found.push('ticks overlap');
  }
  const out = document.createElement('div');
  out.id = 'found';
  out.textContent = JSON.stringify({wide, least, found, fetched: performance.getEntriesByType('resource').map(e => e.name)});
  parent.document.body.appendChild(out);
});
</script>"""


def chromium(folder, *arguments):
    with tempfile.TemporaryDirectory(dir=folder) as profile:
        done = subprocess.run(["chromium", *FLAGS, f"--user-data-dir={profile}", *arguments], capture_output=True,
                              text=True, timeout=120)
    return done.stdout


def frame(folder, page, width, dark, script, height):
    """The page in a frame of that width: a window of less than some 500 pixels is not given to everybody."""
    with open(page) as file:
        text = file.read().replace("</body>", script + "</body>")
    if dark:  # what the reader's system would ask for
        text = text.replace("@media(prefers-color-scheme:dark)", "@media all")
    quoted = text.replace("&", "&amp;").replace('"', "&quot;")
    with open(f"{folder}/frame.html", "w") as file:
        file.write(f'<!DOCTYPE html><body style="margin:0"><iframe style="border:0;width:{width}px;height:{height}px" '
                   f'srcdoc="{quoted}"></iframe></body>')
    return f"file://{folder}/frame.html"


def measure(folder, page, width, dark):
    dom = chromium(folder, "--window-size=1400,4000", "--dump-dom", frame(folder, page, width, dark, MEASURE, 4000))
    found = re.search(r'<div id="found">(.*?)</div>', dom, re.S)
    return json.loads(found[1].replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">")) if found else None


def picture(folder, page, width, dark, file):
    height = 2400 if width > 1000 else 3600
    chromium(folder, f"--window-size={max(width, 500)},{height}", f"--screenshot={file}",
             frame(folder, page, width, dark, "", height))


def make_runs(folder):
    """Two short trainings, of which one is resumed; the other has smaller batches, and a folder whose name is markup."""
    train = ["train", "configs/quickstart.yaml", "--set", f"data={folder}/data", "--set", "threads=1", "--set",
             "log_interval=2", "--set", "warmup_epochs=0", "--set", "checkpoint_every=4steps"]
    names = [f"{folder}/one", f'{folder}/<i>"lr&2'  + "_of_a_name_that_is_longer_than_any_column"]
    for command in (["convert", "--synthetic", "1280", f"{folder}/data"], [*train, "--output", names[0], "--set", "epochs=2"],
                    [*train, "--output", names[0], "--set", "epochs=3", "--resume", "auto", "--override"],
                    [*train, "--output", names[1], "--set", "epochs=1", "--set", "lr=1e-4", "--set",
                     "batch_size=64"]):
        subprocess.run([T2T, *command], check=True, capture_output=True)
    return names


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--pictures", help="a folder for PNG files of the pages, to look at")
    parser.add_argument("runs", nargs="*")
    arguments = parser.parse_args()
    report = Report()
    with tempfile.TemporaryDirectory() as folder:
        runs = make_runs(folder) + arguments.runs
        pages = []
        for group in [[run] for run in runs] + [runs[:8]]:
            pages.append(f"{folder}/page{len(pages)}.html")
            subprocess.run([T2T, "report", *group, "--output", pages[-1]], check=True, capture_output=True)
        for page in pages:
            for width in (1280, 390):
                for dark in (False, True):
                    what = f"{os.path.basename(page)} at {width}, {'dark' if dark else 'light'}"
                    measured = measure(folder, page, width, dark)
                    if not measured or measured["wide"] != width:
                        report.failed(what, f"was not measured: {measured}")
                        continue
                    for text in measured["found"]:
                        print(f"      {text}")
                    report.at_most(f"{what}: texts that leave their box", len(measured["found"]), 0)
                    report.at_most(f"{what}: pixels below 10 of the smallest tick", 10 - measured["least"], 0)
                    report.at_most(f"{what}: fetched from outside {measured['fetched'][:3]}", len(measured["fetched"]), 0)
                    if arguments.pictures:
                        name = os.path.basename(page).replace(".html", f"-{width}-{'dark' if dark else 'light'}.png")
                        picture(folder, page, width, dark, f"{folder}/{name}")
                        shutil.copy(f"{folder}/{name}", arguments.pictures)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
