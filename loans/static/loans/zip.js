// Answers the ZIP box in place. Without this file the form submits, and the same page comes with the same answer.
"use strict";

const form = document.getElementById("zip-form");
const field = document.getElementById("zip");
const answer = document.getElementById("zip-answer");
let asked = 0;

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const number = ++asked;
  const address = `/?${new URLSearchParams(new FormData(form))}`;
  answer.setAttribute("aria-busy", "true");
  try {
    const response = await fetch(address);
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    const found = page.getElementById("zip-answer");
    if (number !== asked) return;
    answer.replaceChildren(...found.childNodes);
    field.setAttribute("aria-invalid", String(!response.ok));
    history.replaceState(null, "", address);
  } catch {
    form.submit();
  } finally {
    if (number === asked) answer.removeAttribute("aria-busy");
  }
});
