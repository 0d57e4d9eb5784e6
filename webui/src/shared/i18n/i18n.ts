import i18next from 'i18next'
import { initReactI18next } from 'react-i18next'
import en from './en.json'
import ko from './ko.json'

const KEY = 'berth.language'
const wanted = localStorage.getItem(KEY) ?? navigator.language

void i18next.use(initReactI18next).init({
  resources: { en: { translation: en }, ko: { translation: ko } },
  lng: wanted.startsWith('ko') ? 'ko' : 'en',
  fallbackLng: 'en',
  interpolation: { escapeValue: false },
})
document.documentElement.lang = i18next.language

export function setLanguage(language: 'en' | 'ko') {
  localStorage.setItem(KEY, language)
  document.documentElement.lang = language
  void i18next.changeLanguage(language)
}
