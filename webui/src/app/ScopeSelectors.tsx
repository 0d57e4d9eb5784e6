import { Group, Select, Text } from '@mantine/core'
import { useTranslation } from 'react-i18next'
import { setScope, useScope } from '../shared/scope'
import { useScopeChoices } from '../shared/scopeChoices'

type Id = string | null

/** Which project pays and which nodes are asked, for all that is started from now on. */
export function ScopeSelectors() {
  const { t } = useTranslation()
  const scope = useScope()
  const { groups, resourceGroups } = useScopeChoices()
  const choices = [
    { label: t('app.project'), of: groups, id: scope.groupId, set: (groupId: Id) => setScope({ groupId }) },
    {
      label: t('app.resourceGroup'),
      of: resourceGroups,
      id: scope.resourceGroupId,
      set: (resourceGroupId: Id) => setScope({ resourceGroupId }),
    },
  ]
  return choices.map((choice) => (
    <Group key={choice.label} gap={6} wrap="nowrap">
      <Text size="xs" c="dimmed" aria-hidden style={{ whiteSpace: 'nowrap' }}>
        {choice.label}
      </Text>
      <Select
        size="xs"
        w={140}
        aria-label={choice.label}
        allowDeselect={false}
        data={choice.of.map((one) => ({ value: one.id, label: one.name }))}
        value={choice.id}
        onChange={choice.set}
      />
    </Group>
  ))
}
