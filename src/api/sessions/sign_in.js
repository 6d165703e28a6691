"use strict";
const button = document.getElementById("sign-in");
const outcome = document.getElementById("outcome");
async function signIn() {
  button.disabled = true;
  const token = location.pathname.split("/").pop();
  try {
    const reply = await fetch("/v1/sessions", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ sign_in_token: token }),
    });
    if (reply.status === 201) {
      outcome.textContent = "You are signed in.";
    } else if (reply.status === 401) {
      outcome.textContent = "This link can no longer be used. Ask for a new one.";
    } else {
      button.disabled = false;
      outcome.textContent = "That did not work (" + reply.status + "). Try again.";
    }
  } catch {
    button.disabled = false;
    outcome.textContent = "The server cannot be reached. Try again.";
  }
}
if (button !== null) {
  button.addEventListener("click", signIn);
}
