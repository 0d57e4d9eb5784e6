import { TextInput } from '@mantine/core'
import { useTranslation } from 'react-i18next'

type Props = { value: string; onChange: (value: string) => void }

/** The second factor of a login. */
export function CodeField({ value, onChange }: Props) {
  const { t } = useTranslation()
  return (
    <TextInput
      label={t('login.code')}
      description={t('login.codeHint')}
      autoComplete="one-time-code"
      value={value}
      onChange={(event) => onChange(event.currentTarget.value)}
      required
      autoFocus
    />
  )
}
