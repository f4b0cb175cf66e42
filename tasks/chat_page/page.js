// Light or dark as chosen here, else as the system says; Esc stops an answer.
(function () {
  const KEY = "llavaflow-theme";
  const apply = () => {
    const chosen = localStorage.getItem(KEY);
    if (chosen) document.body.classList.toggle("dark", chosen === "dark");
  };
  document.addEventListener("click", (event) => {
    if (!event.target.closest || !event.target.closest("#theme")) return;
    localStorage.setItem(KEY, document.body.classList.contains("dark") ? "light" : "dark");
    apply();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    const stop = document.querySelector("#box .stop-button");
    if (stop) stop.click();
  });
  const whenReady = () => { apply(); setTimeout(apply, 300); };
  if (document.body) whenReady(); else document.addEventListener("DOMContentLoaded", whenReady);
})();
