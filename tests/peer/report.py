"""One line per check, and an exit status."""


class Report:
    def __init__(self):
        self.checks = self.failures = 0

    def at_most(self, what, value, limit):
        good = value <= limit  # false for NaN
        self.checks += 1
        self.failures += not good
        print(f"{'ok' if good else 'FAIL':5}{what:72} {value:.2e} (limit {limit:g})", flush=True)

    def failed(self, what, why):
        self.checks += 1
        self.failures += 1
        print(f"FAIL {what}: {why}", flush=True)

    def finish(self):
        print(f"{self.checks} checks, {self.failures} failed")
        return 1 if self.failures or not self.checks else 0
