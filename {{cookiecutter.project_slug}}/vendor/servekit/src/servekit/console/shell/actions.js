actions.js
